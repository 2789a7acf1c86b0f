;; The last byte of a segment of a hundred.
(module
  (memory 1)
  (data $d "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv")
  (func (export "f") (memory.init $d (i32.const 0) (i32.const 99) (i32.const 1))))
(assert_return (invoke "f"))
