;; A call of a local of a reference's type that was not set.
(module
  (type $t (func))
  (func (export "f") (local (ref null $t)) (call_ref $t (local.get 0))))
(assert_trap (invoke "f") "null function reference")
