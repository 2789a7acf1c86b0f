;; Both branches set the local that was pushed before; 18 is what was pushed.
(module
  (func (export "f") (param externref i32) (result i32) (local externref i32)
    (local.get 1)
    (ref.null extern)
    (i32.const 3)
    (if (param i32) (local.get 3)
      (then (local.set 1))
      (else (local.set 1)))
    (local.set 2)
    (local.set 1)
    (local.get 1)))
(assert_return (invoke "f" (ref.null extern) (i32.const 18)) (i32.const 18))
