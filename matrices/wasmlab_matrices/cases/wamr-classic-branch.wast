;; Below the parameter of the block is 7.
(module
  (func (export "f") (result i32 i32)
    (i32.const 7)
    (i32.const 1)
    (block (param i32) (result i32) (br 0))))
(assert_return (invoke "f") (i32.const 7) (i32.const 1))
