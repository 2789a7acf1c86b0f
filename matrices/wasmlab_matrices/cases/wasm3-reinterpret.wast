;; The bits of a NaN are those that went in.
(module
  (func (export "f") (param i32) (result i32) (i32.reinterpret_f32 (f32.reinterpret_i32 (local.get 0)))))
(assert_return (invoke "f" (i32.const 0x7fffffff)) (i32.const 0x7fffffff))
