<?php echo "found\n";
