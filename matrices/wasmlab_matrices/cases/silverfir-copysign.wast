;; The sign is that of a result, not of a local.
(module (func (export "f") (param f32) (result f32) (f32.copysign (f32.const 1) (f32.neg (local.get 0)))))
(assert_return (invoke "f" (f32.const 1)) (f32.const -1))
