;; The branch to the loop takes 0 along.
(module $a
  (type (;0;) (func (param f32 i32 i64) (result i32 f32)))
  (type (;1;) (func (param i32) (result i32)))
  (global (;0;) (mut i64) i64.const 3)
  (global (;1;) (mut f32) f32.const 0x1.90605cp+41)
  (global (;2;) (mut i32) i32.const -32768)
  (export "f0" (func 0))
  (func (;0;) (type 0)
    (local f32)
    (local i64)
    (local i32 i32)
    i64.const 0
    global.set 0
    i32.const 3
    local.set 5
    global.get 0
    i64.eqz
    block (type 1)
      loop (type 1)
        local.get 5
        i32.eqz
        br_if 1
        i32.const 0
        local.set 5
        i32.const 0
        i32.sub
        local.set 6
        i32.const 0
        br 0
      end
    end
    i32.extend8_s
    f32.const 0x0p+0
    return
  )
)
(assert_return (invoke $a "f0" (f32.const -0x1.1dde36p+61) (i32.const 0x8001) (i64.const 0xfffffffffffffffe)) (i32.const 0x0) (f32.const 0x0p+0))
