;; A memory, a table, a global and a few functions: what a small module costs.
(module
  (type $f (func (param i32) (result i32)))
  (memory 1) (table 3 funcref) (global $g (mut i32) (i32.const 1))
  (data (i32.const 8) "a few bytes of data")
  (elem (i32.const 0) $a $b $c)
  (func $a (type $f) (i32.add (local.get 0) (i32.load8_u (i32.const 8))))
  (func $b (type $f) (i32.xor (local.get 0) (global.get $g)))
  (func $c (type $f) (i32.store (i32.const 64) (local.get 0)) (i32.mul (local.get 0) (i32.const 3)))
  (func (export "run") (param $n i32) (result i64) (local $i i32) (local $x i32)
    (block $done (loop $again
      (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
      (local.set $x (call_indirect (type $f) (local.get $x) (i32.rem_u (local.get $i) (i32.const 3))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $again)))
    (i64.extend_i32_u (local.get $x))))
