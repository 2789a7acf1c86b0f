;; A function type with a parameter of no value type.
(assert_malformed (module binary "\00asm\01\00\00\00" "\01\05\01\60\01\5f\00") "malformed value type")
