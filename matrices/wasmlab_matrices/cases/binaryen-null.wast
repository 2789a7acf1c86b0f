;; A null is one of its type, and no i31.
(assert_invalid
  (module (func (export "f") (result i32) (i31.get_s (ref.null struct))))
  "type mismatch")
