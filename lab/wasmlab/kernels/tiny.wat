;; The smallest module: what a module costs.
(module (func (export "run") (param i32) (result i64) (i64.extend_i32_u (i32.mul (local.get 0) (local.get 0)))))
