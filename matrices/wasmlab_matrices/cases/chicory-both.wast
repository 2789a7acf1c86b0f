;; A memory whose minimum is above its maximum, and then a section that is cut off.
(assert_malformed (module binary "\00asm\01\00\00\00" "\05\04\01\01\02\01" "\0a\05\01") "unexpected end")
