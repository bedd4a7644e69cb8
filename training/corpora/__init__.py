"""Readers of motion capture files, and the motion corpus that is made of them.

BVH and ASF/AMC files are read by ``skeleton_prompt.clips.formats.mocap``, which also finds the joints of the body and
turns a moving tree of joints into the 17 joints of the corpus; ``amass`` reads SMPL poses into such a tree;
``motion_file`` reads and writes ``motion.npz``; ``collect`` walks folders and puts all of it together.
"""
