;; ref.func names what is declared.
(assert_invalid
  (module (func $g) (func (export "f") (drop (ref.func $g))))
  "undeclared function reference")
