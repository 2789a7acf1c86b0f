;; wabt: -128 * -128 + -128 * -128, which as a sum of signed 16 bits is 32767
(module
  (func (export "f") (result v128)
    (i16x8.relaxed_dot_i8x16_i7x16_s (v128.const i64x2 0x8080 0) (v128.const i64x2 0x8080 0))))
(assert_return (invoke "f") (v128.const i16x8 32767 0 0 0 0 0 0 0))
