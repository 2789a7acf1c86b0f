;; The tag's type is the first one of $a, and another one is the first here.
(module $a (tag (export "t") (param i32)))
(register "a" $a)
(module
  (type (func (param i32 i32)))
  (type $t (func (param i32)))
  (import "a" "t" (tag $t (type $t)))
  (func (export "f") (result i32)
    (block $h (result i32)
      (try_table (catch $t $h) (throw $t (i32.const 7)))
      (unreachable))))
(assert_return (invoke "f") (i32.const 7))
