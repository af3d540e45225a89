# Runs the server of an image inside it, so that one which cannot start is found
# before anybody gets it. LEVEL is what its CPU code is compiled for: a builder's own
# machine may lack it.
code=0
said=$(timeout 60 "$1" --version 2>&1) || code=$?
case $code in
0) exit 0 ;;
132)
  if [ "$LEVEL" != portable ]; then
    echo "the server was not tried: this builder's CPU is no $LEVEL"
    exit 0
  fi
  ;;
esac
echo "$said" >&2
echo "llorch-bk: the server does not start in the image: $1 --version gives exit code $code" >&2
exit 1
