;; A local of a type without a default value has to be set first.
(assert_invalid
  (module (func (export "f") (local (ref extern)) (drop (local.get 0))))
  "uninitialized local")
