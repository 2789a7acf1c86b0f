;; Between memories that are addressed differently.
(module
  (memory $a 1)
  (memory $b i64 1)
  (func (export "f") (memory.copy $a $b (i32.const 0) (i64.const 0) (i32.const 1))))
(assert_return (invoke "f"))
