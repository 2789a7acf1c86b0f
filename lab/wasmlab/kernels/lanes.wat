;; Vectors of four: integer multiplications, shuffles, comparisons, and floats.
(module
  (memory 1)
  (func (export "run") (param $n i32) (result i64) (local $v v128) (local $w v128) (local $f v128) (local $at i32)
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
    (local.set $v (v128.const i32x4 1 2 3 4))
    (local.set $f (v128.const f32x4 1.5 0.25 3 0.125))
    (loop $again
      (local.set $at (i32.and (i32.shl (local.get $n) (i32.const 4)) (i32.const 0xfff0)))
      (local.set $w (i32x4.add (i32x4.mul (local.get $v) (i32x4.splat (local.get $n))) (v128.load (local.get $at))))
      (local.set $v (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 24 25 26 27 (local.get $w) (local.get $v)))
      (local.set $f (f32x4.add (f32x4.mul (local.get $f) (f32x4.splat (f32.const 0.5)))
                               (f32x4.convert_i32x4_s (i32x4.shr_s (local.get $v) (i32.const 12)))))
      (v128.store (local.get $at) (v128.bitselect (local.get $v) (local.get $f)
        (i32x4.gt_s (local.get $v) (local.get $w))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i64.xor (i64x2.extract_lane 0 (local.get $v)) (i64x2.extract_lane 1 (local.get $f)))))
