;; What a reference is cast to matches what it was.
(assert_invalid
  (module (func (export "f") (param (ref null any)) (result (ref null any))
    (br_on_cast 0 (ref eq) (ref null eq) (ref.as_non_null (ref.null none)))))
  "type mismatch")
