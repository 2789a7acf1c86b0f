;; Two functions that call each other in tail position, n times each.
(module
  (func $even (param $n i32) (param $x i64) (result i64)
    (if (result i64) (local.get $n)
      (then (return_call $odd (i32.sub (local.get $n) (i32.const 1))
        (i64.add (i64.mul (local.get $x) (i64.const 5)) (i64.const 1))))
      (else (local.get $x))))
  (func $odd (param $n i32) (param $x i64) (result i64)
    (return_call $even (local.get $n) (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 11)))))
  (func (export "run") (param i32) (result i64) (call $even (local.get 0) (i64.const 7))))
