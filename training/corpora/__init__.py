"""Readers of motion capture files, and the motion corpus that is made of them.

``bvh``, ``acclaim`` (ASF/AMC) and ``amass`` each turn a file into a moving tree of joints (``tree``); ``parts`` finds
the joints of the human body in it by name and place; ``canonical`` turns it into the 17 joints of the corpus, in
metres, y up; ``motion_file`` reads and writes ``motion.npz``; ``collect`` walks folders and puts all of it together.
"""
