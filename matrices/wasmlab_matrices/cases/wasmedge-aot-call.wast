;; A function of another module, called by way of a table.
(module $a
  (global i64 (i64.const 1))
  (func (export "f") (result i64) (global.get 0)))
(register "a" $a)
(module
  (type $t (func (result i64)))
  (import "a" "f" (func $f (type $t)))
  (table funcref (elem $f))
  (global i64 (i64.const 2))
  (func (export "g") (result i64) (call_indirect (type $t) (i32.const 0))))
(assert_return (invoke "g") (i64.const 1))
