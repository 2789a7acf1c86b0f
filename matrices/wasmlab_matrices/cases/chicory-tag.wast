;; Another module catches a tag, and a tag of the same type is thrown.
(module $a
  (tag $a (export "t") (param i32))
  (tag $b (param i32))
  (func (export "throw") (throw $b (i32.const 7))))
(register "a" $a)
(module
  (import "a" "t" (tag $t (param i32)))
  (import "a" "throw" (func $throw))
  (func (export "f") (result i32)
    (block $h (result i32)
      (block $k
        (try_table (catch $t $h) (catch_all $k) (call $throw))
        (unreachable))
      (i32.const 1))))
(assert_return (invoke "f") (i32.const 1))
