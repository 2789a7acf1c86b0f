;; A NaN with a sign and a payload goes through a block.
(module
  (func (export "f") (param f32) (result f32) (block (result f32) (local.get 0))))
(assert_return (invoke "f" (f32.const -nan:0x7fffff)) (f32.const -nan:0x7fffff))
