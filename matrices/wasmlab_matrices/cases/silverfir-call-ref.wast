;; A call of a local of a reference's type that was not set.
(module
  (type $t (func (result i32)))
  (func (result i32) (i32.const 0))
  (func (export "f") (result i32) (local (ref null $t)) (call_ref $t (local.get 0))))
(assert_trap (invoke "f") "null function reference")
