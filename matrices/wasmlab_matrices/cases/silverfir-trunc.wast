;; A conversion of 2^64, written as a constant.
(module
  (func (export "f") (result i64) (i64.trunc_f64_u (f64.const 0x1p+64))))
(assert_trap (invoke "f") "integer overflow")
