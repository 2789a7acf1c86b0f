;; An index of 2^63 into a table of 64 bits.
(module
  (table i64 5 5 funcref)
  (func (export "f") (result funcref) (table.get 0 (i64.const 0x8000000000000000))))
(assert_trap (invoke "f") "out of bounds table access")
