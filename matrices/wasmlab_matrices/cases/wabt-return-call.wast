;; wabt: a tail call of a function that stands further down goes to another one, where the module imports functions
(module $a
  (import "lab" "trap" (func $trap))
  (func $even (export "even") (param i64) (result i32)
    (if (result i32) (i64.eqz (local.get 0))
      (then (i32.const 1))
      (else (return_call $odd (i64.sub (local.get 0) (i64.const 1))))))
  (func $odd (param i64) (result i32)
    (if (result i32) (i64.eqz (local.get 0))
      (then (i32.const 0))
      (else (return_call $even (i64.sub (local.get 0) (i64.const 1)))))))
(assert_return (invoke $a "even" (i64.const 1)) (i32.const 0))
