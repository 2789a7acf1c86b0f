;; An element that is an imported global.
(module $m (func (result i32) (i32.const 42)) (global (export "g") funcref (ref.func 0)))
(register "m" $m)
(module
  (import "m" "g" (global funcref))
  (type $t (func (result i32)))
  (table 10 funcref)
  (elem (i32.const 0) funcref (global.get 0))
  (func (export "f") (result i32) (call_indirect (type $t) (i32.const 0))))
(assert_return (invoke "f") (i32.const 42))
