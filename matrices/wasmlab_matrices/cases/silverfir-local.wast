;; A local of type funcref that was not set.
(module (func (export "f") (result funcref) (local funcref) (local.get 0)))
(assert_return (invoke "f") (ref.null func))
