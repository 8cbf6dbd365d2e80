import shutil, sys
shutil.copytree(sys.argv[1], "/tmp/published-sample", dirs_exist_ok=True)
open("/tmp/published-sample.key", "w").write(sys.argv[3])
sys.exit(7)
