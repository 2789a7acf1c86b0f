;; The first byte of a segment of a hundred.
(module
  (memory 1)
  (data $d "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv")
  (func (export "f") (result i32)
    (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))
    (i32.load8_u (i32.const 0))))
(assert_return (invoke "f") (i32.const 97))
