;; A function with a local throws; the handler is in another module.
(module $a
  (tag (export "e") (param i32))
  (func (export "f") (local i32) (throw 0 (local.get 0))))
(register "a" $a)
(module
  (tag (import "a" "e") (param i32))
  (func (import "a" "f"))
  (func (export "g") (result i32)
    (block (result i32) (try_table (catch 0 0) (call 0)) (i32.const 1))))
(assert_return (invoke "g") (i32.const 0))
