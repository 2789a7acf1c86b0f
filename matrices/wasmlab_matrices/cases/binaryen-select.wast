;; select of references names their type.
(assert_invalid
  (module (func (export "f") (param funcref) (drop (select (local.get 0) (local.get 0) (i32.const 1)))))
  "type mismatch")
