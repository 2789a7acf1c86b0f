;; 2^63 and one, of which the nearest f32 is 2^63.
(module (func (export "f") (param i64) (result f32) (f32.convert_i64_u (local.get 0))))
(assert_return (invoke "f" (i64.const 0x8000000000000001)) (f32.const 0x1p+63))
