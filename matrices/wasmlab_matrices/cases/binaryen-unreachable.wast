;; i64.ge_s leaves an operand behind, in code that is unreachable.
(assert_invalid
  (module (func (export "f") (br 0) (i64.ge_s)))
  "type mismatch")
