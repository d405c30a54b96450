"""The parts behind `tools.elasticsearch_node`; standard library only, so that any Python 3.11 can run them.

release      the two lines: version, Maven coordinates, Java
account      the user a node runs as when we are root
java         the Java installations of this machine
maven        the archive that carries a distribution
distribution an unpacked distribution: at ES_HOME or in the cache
container    the official image
launch       what has to be run, in which directory, for one node
guard        the small process that ends a node when its owner is gone
node         a running node: waiting for it, describing it, ending it
"""
