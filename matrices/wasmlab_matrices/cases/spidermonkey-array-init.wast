;; Nothing is to be copied from a segment that was dropped, to an index behind the end.
(module
  (type $a (array (mut i8)))
  (data $d "x")
  (func (export "f")
    (data.drop $d)
    (array.init_data $a $d (array.new_default $a (i32.const 0)) (i32.const 1) (i32.const 0) (i32.const 0))))
(assert_trap (invoke "f") "out of bounds array access")
