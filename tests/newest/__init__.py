"""The suite on Pythons and servers that are newer than the machine's: `nox -s newest`.

Debian's unstable distribution has them. It is installed into a folder of its own, and the suite runs in there.

* `machine`: whether this machine can do that, and what it lends: its mirror, and the settings of apt and pip.
* `namespace`: mounts and processes of their own, all of which end with the program, however that ends.
* `distribution`: the folder, what is installed in it, and programs that run in it.
"""
