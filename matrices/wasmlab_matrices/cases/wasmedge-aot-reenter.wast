;; What a function of the host calls is compiled, and so is who calls that.
(module $a
  (import "lab" "reenter" (func $reenter (param i32)))
  (func (export "reenter") (param i32)
    (if (local.get 0) (then (return)))
    (call $reenter (i32.const 1))))
(register "lab.callee" $a)
(register "a" $a)
(module $b
  (import "a" "reenter" (func $reenter (param i32)))
  (func (export "f") (result i32)
    (call $reenter (i32.const 0))
    (call $reenter (i32.const 0))
    (i32.const 7)))
(assert_return (invoke $b "f") (i32.const 7))
