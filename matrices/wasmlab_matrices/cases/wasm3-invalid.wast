;; i32.add without operands.
(assert_invalid
  (module (func (export "f") (result i32) (i32.add)))
  "type mismatch")
