;; Indirect calls through a table of four functions, and a br_table in each step.
(module
  (type $f (func (param i64 i64) (result i64)))
  (table funcref (elem $add $sub $xor $mul))
  (func $add (type $f) (i64.add (local.get 0) (local.get 1)))
  (func $sub (type $f) (i64.sub (local.get 0) (local.get 1)))
  (func $xor (type $f) (i64.xor (local.get 0) (i64.rotl (local.get 1) (i64.const 9))))
  (func $mul (type $f) (i64.mul (local.get 0) (i64.or (local.get 1) (i64.const 1))))
  (func (export "run") (param $n i32) (result i64) (local $x i64)
    (local.set $x (i64.const 1))
    (loop $again
      (local.set $x (call_indirect (type $f) (local.get $x) (i64.extend_i32_u (local.get $n))
        (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 3))))
      (block $d (block $c (block $b (block $a
        (br_table $a $b $c $d (i32.and (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const 5))) (i32.const 3))))
        (local.set $x (i64.add (local.get $x) (i64.const 3))) (br $d))
        (local.set $x (i64.xor (local.get $x) (i64.const 0x55))) (br $d))
        (local.set $x (i64.rotl (local.get $x) (i64.const 3))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))
