;; A tail call of a function of the host.
(module
  (import "lab" "number" (func $number (param externref) (result i32)))
  (func $f (param f64 i64) (result i32) (return_call $number (ref.null extern)))
  (func (export "f") (result i32) (call $f (f64.const 1) (i64.const 0))))
(assert_return (invoke "f") (i32.const -1))
