;; What is pushed is the local as it was before the loop, whose second round sets it.
(module
  (func (export "f") (param i32) (result i32) (local i32)
    (local.set 1 (i32.const 1))
    (local.get 0)
    (i32.const 3)
    (loop (param i32)
      (local.set 0)
      (i32.const 5)
      (local.get 1)
      (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
      (br_if 0)
      (drop))))
(assert_return (invoke "f" (i32.const 18)) (i32.const 18))
