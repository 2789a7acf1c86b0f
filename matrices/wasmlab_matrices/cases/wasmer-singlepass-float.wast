;; The first argument of the call that comes from outside is 1.
(module (func (export "f") (param f32 f32 i32) (result f32) (local.get 0)))
(assert_return (invoke "f" (f32.const 1) (f32.const 2) (i32.const 3)) (f32.const 1))
