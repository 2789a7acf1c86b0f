;; The sum of address and offset is 2^64.
(module
  (memory i64 1)
  (func (export "f") (result i64)
    (i64.load offset=9223372036854775808 (i64.const -9223372036854775808))))
(assert_trap (invoke "f") "out of bounds memory access")
