;; A parameter of type f64, after an if that gave an f32.
(module
  (global $g (export "g") (mut i64) (i64.const 127))
  (func (export "f") (param i32 i32 f64 f64) (result i64) (local f32)
    (local.set 4 (if (result f32) (i32.const 0) (then (f32.const 0)) (else (f32.const 0))))
    (drop (local.get 2))
    (i64.reinterpret_f64 (local.get 2))))
(assert_return (invoke "f" (i32.const 0) (i32.const 0) (f64.const -0x1.4000000000002p+1) (f64.const 0)) (i64.const 0xc004000000000002))
