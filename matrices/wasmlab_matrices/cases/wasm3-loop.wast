;; A branch to a loop with a parameter: the second round is to have 1.
(module
  (func (export "f") (result i64) (local i32)
    (local.set 0 (i32.const 1))
    (i64.const 5)
    (block (param i64) (result i64)
      (loop (param i64) (result i64)
        (br_if 1 (i32.eqz (local.get 0)))
        (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
        (drop)
        (i64.const 1)
        (br 0)))))
(assert_return (invoke "f") (i64.const 1))
