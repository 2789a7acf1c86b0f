;; A signalling NaN comes out quiet.
(module (func (export "f") (param f32) (result f32) (f32.ceil (local.get 0))))
(assert_return (invoke "f" (f32.const nan:0x200000)) (f32.const nan:arithmetic))
