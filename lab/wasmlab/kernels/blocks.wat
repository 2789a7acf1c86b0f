;; Blocks of memory filled and copied, with overlaps.
(module
  (memory 4)
  (func (export "run") (param $n i32) (result i64) (local $at i32)
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 262144))
    (loop $again
      (local.set $at (i32.and (i32.mul (local.get $n) (i32.const 7919)) (i32.const 0xffff)))
      (memory.fill (local.get $at) (local.get $n) (i32.and (local.get $n) (i32.const 2047)))
      (memory.copy (i32.add (local.get $at) (i32.const 97)) (local.get $at) (i32.const 1500))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i64.xor (i64.load (i32.const 4096)) (i64.rotl (i64.load (i32.const 40000)) (i64.const 21)))))
