;; A memory that may grow to all of 2^64 bytes.
(module
  (memory i64 1 0x1_0000_0000_0000)
  (func (export "f") (result i64) (memory.grow (i64.const 1))))
(assert_return (invoke "f") (i64.const 1))
