;; A global of type exnref goes to a local.
(module
  (global (mut exnref) (ref.null exn))
  (func (export "f") (local exnref) (local.set 0 (global.get 0))))
(assert_return (invoke "f"))
