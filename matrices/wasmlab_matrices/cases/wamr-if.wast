;; The branch that sets local 1 is not taken.
(module $a
  (type (;0;) (func))
  (type (;1;) (func (param f32 f32)))
  (type (;2;) (func (result i64)))
  (global (;0;) (mut i64) i64.const 1)
  (export "f2" (func 0))
  (export "peek0" (func 1))
  (func (;0;) (type 0)
    (local f32)
    (local i32)
    local.get 0
    f32.neg
    f32.const 0x0p+0
    i32.const 0
    if (type 1)
      local.set 0
      i32.reinterpret_f32
      i32.const 0
      i32.sub
      local.set 1
    else
      local.set 0
      local.set 0
    end
    local.get 0
    i32.reinterpret_f32
    drop
    local.get 1
    i64.extend_i32_u
    global.set 0
  )
  (func (;1;) (type 2)
    global.get 0
  )
)
(assert_return (invoke $a "f2"))
(assert_return (invoke $a "peek0") (i64.const 0x0))
